"""TLS for the connections of any listener: handshakes within the limits on connections, certificates that follow their files."""
