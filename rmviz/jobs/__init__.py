"""Job folders, progress reports and the runner; knows nothing of what a job does."""
