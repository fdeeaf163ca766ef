"""What ``paddlehub.compat.module`` offers."""
