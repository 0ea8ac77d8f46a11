"""How an item comes to be created in another way, where its provider refuses it."""
