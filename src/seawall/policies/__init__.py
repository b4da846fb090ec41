"""The policies; each is one file or folder, and none knows another."""
