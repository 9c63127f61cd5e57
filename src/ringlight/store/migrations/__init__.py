"""How the tables came about, a step each; names begin with the number of the schema they lead to."""
