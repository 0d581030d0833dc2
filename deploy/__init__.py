"""What puts the product onto a computer: the offline bundle, its installer, the Debian package, units of the service manager."""
