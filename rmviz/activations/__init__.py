"""Reading and replacing the residual stream at a hookpoint; streams of activations."""
