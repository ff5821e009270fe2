"""One page that holds a trained decoder and computes it in a browser."""
