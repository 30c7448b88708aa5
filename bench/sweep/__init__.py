"""Many transfers from one file: weights times protocols times seeds, of which only the missing ones run."""
