import pytest

from zt_async.aio.stores.place import store_at
from zt_async.aio.stores.sqlite import SqliteStore
from zt_async.errors import StoreError


def test_a_path_is_of_an_sqlite_file(tmp_path):
    assert isinstance(store_at(tmp_path / "networks.db"), SqliteStore)
    assert isinstance(store_at("networks.db"), SqliteStore)


@pytest.mark.parametrize("place", ["mysql://db/zt", "postgresql+asyncpg://db/zt", "redis://"])
def test_a_url_of_another_kind_is_no_path(place):
    with pytest.raises(StoreError, match=r"no store for .*postgresql://"):
        store_at(place)
