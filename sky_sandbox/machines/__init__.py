"""The machines that the clouds lend: processes on this host, each with its sshd, address and metadata service."""
