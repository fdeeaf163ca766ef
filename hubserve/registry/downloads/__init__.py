"""Download files over HTTPS: addresses, bounded requests, and downloads that resume."""
