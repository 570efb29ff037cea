"""The command line."""
def main() -> None:
    """Run."""
    print("ok")
