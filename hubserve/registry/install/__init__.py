"""Install modules: unpack, copy, verify and put in place."""
