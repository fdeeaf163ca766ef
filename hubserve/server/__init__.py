"""The server: all protocols on one port, and the process that serves them."""
