"""The local web page on which a person looks at suspects one by one and decides: questions, pictures, decisions, access."""
