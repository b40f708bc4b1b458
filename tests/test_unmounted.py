"""A disk that goes away while the drive serves: nothing is acknowledged, forgotten, or written below."""

from collections.abc import Callable

from flask import Flask

from tests.apps import BEARER


def put(app: Flask, id: str, data: bytes) -> int:
    return app.test_client().put(f"/v1/content/{id}", data=data, headers=BEARER).status_code


def get(app: Flask, id: str) -> tuple[int, bytes]:
    answer = app.test_client().get(f"/v1/content/{id}", headers=BEARER)
    return answer.status_code, answer.data


def test_a_disk_that_is_unmounted_while_serving_loses_nothing(make_app: Callable[..., Flask]) -> None:
    first = make_app()
    assert put(first, "one", b"one") == 201
    assert put(first, "two", b"two") == 201
    place = first.extensions["simpledrive"].settings.local_storage_path
    only_read = make_app()  # as a worker that has read from the backend, but not put yet
    assert get(only_read, "two") == (200, b"two")

    place.rename(place.with_name("elsewhere"))
    place.mkdir()  # the mount point
    for app in (first, only_read):
        assert put(app, "three", b"one") in (502, 503)
        assert put(app, "four", b"four") in (502, 503)
    assert not (place / "objects").exists()

    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    place.rmdir()
    place.with_name("elsewhere").rename(place)
    for app in (first, only_read):
        assert get(app, "one") == (200, b"one")
        assert put(app, f"three-{id(app)}", b"one") == 201


def test_removed_empty_folders_are_made_again(app: Flask) -> None:
    assert put(app, "one", b"one") == 201
    objects = app.extensions["simpledrive"].settings.local_storage_path / "objects"
    key = next(path for path in objects.rglob("*") if path.is_file() and "simpledrive" not in path.name)
    key.unlink()
    key.parent.rmdir()
    key.parent.parent.rmdir()
    assert put(app, "again", b"one") == 201
    assert get(app, "one") == (200, b"one")
