"""Copy objects to the backup target with rclone, keep replaced contents, and copy them back."""
