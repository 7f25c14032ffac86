"""Reproductions: programs that show a fault with torch and the vendor's package."""
