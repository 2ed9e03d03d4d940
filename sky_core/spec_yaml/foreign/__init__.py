"""Files of others as files of ours."""
