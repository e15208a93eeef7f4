"""DataFrame in, plotly or Altair figure out."""
