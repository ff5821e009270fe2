"""A local page in which one moves about in trained models: a file a tab, what they share, and the server."""
