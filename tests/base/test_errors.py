from stages.base.errors import nearest


def test_what_was_perhaps_meant_is_named_as_it_is_written() -> None:
    assert nearest("clahe", ["CLAHE", "Blur"]) == "; did you mean `CLAHE`?"
    assert nearest("DIAGNOSI", ["diagnosis"]) == "; did you mean `diagnosis`?"
    assert nearest("resnet1", ["resnet18", "resnet10", "vit"], most=3) == "; did you mean `resnet18`, `resnet10`?"


def test_where_nothing_is_like_it_the_line_ends_otherwise() -> None:
    assert nearest("zebra", ["cat", "dog"]) == ""
    assert nearest("zebra", ["cat", "dog"], otherwise="there are cat, dog") == "; there are cat, dog"
