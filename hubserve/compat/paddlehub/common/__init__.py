"""What ``paddlehub.common`` offered to modules of PaddleHub 1."""
