"""What is known of the accounts that are used under a root, whatever batch they are used for."""
