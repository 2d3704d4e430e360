"""Rename a collection, describe it in its metadata and check that its pages came along."""

import logging

from vdb_utils import (
    delete_collection_by_name,
    get_collection,
    list_collection_names,
    load_pages,
)

logging.basicConfig(level=logging.DEBUG)


def rename_collection(collection, new_name):
    old_name = collection.name
    collection.modify(name=new_name)
    logging.debug(f"Renamed {old_name} to {new_name}")


def describe_collection(collection, description):
    collection.modify(metadata={"description": description})
    logging.debug(f"Described {collection.name} :{description}")


def main():
    vdb_name = "vdb"
    old_name = "draft_pages"
    new_name = "final_pages"

    for coll_name in (old_name, new_name):
        delete_collection_by_name(vdb_name, coll_name)
    collection = get_collection(vdb_name, old_name)
    load_pages(collection, "user_data/pallavas.pdf")
    count = collection.count()
    rename_collection(collection, new_name)
    describe_collection(collection, "pages about the Pallavas")

    coll_names = list_collection_names(vdb_name)
    print(f"Old name found :{old_name in coll_names}")
    print(f"New name found :{new_name in coll_names}")
    print(f"Pages kept :{collection.count() == count}")
    print(f"Metadata :{collection.metadata}")
    delete_collection_by_name(vdb_name, new_name)


if __name__ == "__main__":
    main()
