FIRST, SECOND = "first", "second"
