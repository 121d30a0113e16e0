"""Networks as plain modules, and quantisation around them."""
