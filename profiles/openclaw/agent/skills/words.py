"""The most frequent words of a text, by way of a database as larger skills keep one."""

import os
import re
import sqlite3
import sys
import tempfile

with open(sys.argv[1], encoding="utf-8") as file:
    text = file.read()
with tempfile.TemporaryDirectory(prefix="words-") as folder:
    with sqlite3.connect(os.path.join(folder, "words.db")) as database:
        database.execute("CREATE TABLE words (word TEXT)")
        database.executemany("INSERT INTO words VALUES (?)", [(w,) for w in re.findall(r"\w+", text.lower())])
        rows = database.execute("SELECT word, count(*) FROM words GROUP BY word ORDER BY 2 DESC, 1 LIMIT 3")
        for word, count in rows:
            print(word, count)
