"""R inside this process: the only package that imports rpy2."""
