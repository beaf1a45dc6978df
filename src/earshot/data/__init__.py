"""The pair set on disk, and the published sets that become one."""
