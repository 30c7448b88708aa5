"""What is done with a whole store of records: check it, put several together, write it out flat."""
