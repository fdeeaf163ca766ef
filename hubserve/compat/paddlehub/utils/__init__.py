"""What ``paddlehub.utils`` offers."""
