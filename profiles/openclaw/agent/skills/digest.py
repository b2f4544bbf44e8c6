"""The digest of a text."""

import hashlib
import sys

with open(sys.argv[1], "rb") as file:
    print(hashlib.sha256(file.read()).hexdigest())
