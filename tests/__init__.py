"""The suite. Only this folder is a package; those below are namespaces, so equal file names are fine."""
