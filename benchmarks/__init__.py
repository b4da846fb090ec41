"""What seawall costs (overhead) and what it does; none of it is part of the library."""
