"""The parts of the command line: how it speaks, and the commands that read the record."""
