"""The command line: one file a command. The only user of Click; nothing imports it."""
