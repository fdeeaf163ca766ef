"""What ``paddlehub.io`` offered to modules of PaddleHub 1."""
