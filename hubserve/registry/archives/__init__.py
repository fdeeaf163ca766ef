"""Pack module folders into archives, unpack archives safely, and copy folders."""
