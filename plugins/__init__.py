"""The built-in plugins, one file each, installed as `ferbench_plugins`."""
