"""What can go wrong while the local stack is brought up."""


class StackTrouble(Exception):
    """Something of the stack cannot be had. The text says what, why and what to do."""
