"""What the stress programs share: a server as a process, load on it, its memory, and a report of promises."""
