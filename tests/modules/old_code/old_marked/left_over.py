print "this file is of Python 2, and is not imported"
