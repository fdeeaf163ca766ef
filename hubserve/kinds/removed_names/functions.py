"""What old functions did, on top of what packages have now; each is made from the present one where it is asked for."""
