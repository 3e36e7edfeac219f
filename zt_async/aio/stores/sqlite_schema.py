"""The tables of an SQLite database, as the steps that lead from each version to the next.

Whoever writes to them by plain SQL need only keep ``record`` valid JSON: triggers count revisions, keep the table of
addresses, in which each is one member's only, and note what was changed for the controllers that watch. A record's
JSON is that of zerotier-one's files (vl2.md 8.5).
"""

from __future__ import annotations

from typing import Final

_ASSIGN: Final = """INSERT INTO assignment (network, ip, address)
            SELECT DISTINCT NEW.network, value, NEW.address
            FROM json_each(NEW.record, '$.ipAssignments') WHERE type = 'text';"""

RECORDS: Final = (
    """
    CREATE TABLE network (
        id TEXT PRIMARY KEY NOT NULL CHECK (length(id) = 16 AND id NOT GLOB '*[^0-9a-f]*'),
        revision INTEGER NOT NULL DEFAULT 1,
        record TEXT NOT NULL CHECK (json_valid(record))
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE member (
        network TEXT NOT NULL REFERENCES network (id),
        address TEXT NOT NULL CHECK (length(address) = 10 AND address NOT GLOB '*[^0-9a-f]*'),
        revision INTEGER NOT NULL DEFAULT 1,
        record TEXT NOT NULL CHECK (json_valid(record)),
        PRIMARY KEY (network, address)
    ) WITHOUT ROWID
    """,
    # A member as it was last seen: with each request, so neither a revision nor news for anybody.
    """
    CREATE TABLE seen (
        network TEXT NOT NULL,
        address TEXT NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (network, address),
        FOREIGN KEY (network, address) REFERENCES member (network, address)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE assignment (
        network TEXT NOT NULL,
        ip TEXT NOT NULL,
        address TEXT NOT NULL,
        PRIMARY KEY (network, ip),
        FOREIGN KEY (network, address) REFERENCES member (network, address)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX assignment_of_member ON assignment (network, address)",
    # The latest change of each record, deletion included; an empty address is the network's own.
    """
    CREATE TABLE change (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        network TEXT NOT NULL,
        address TEXT NOT NULL,
        UNIQUE (network, address)
    )
    """,
    """
    CREATE TRIGGER network_added AFTER INSERT ON network BEGIN
        INSERT OR REPLACE INTO change (network, address) VALUES (NEW.id, '');
    END
    """,
    """
    CREATE TRIGGER network_changed AFTER UPDATE ON network WHEN NEW.record <> OLD.record BEGIN
        UPDATE network SET revision = OLD.revision + 1 WHERE id = NEW.id AND NEW.revision = OLD.revision;
        INSERT OR REPLACE INTO change (network, address) VALUES (NEW.id, '');
    END
    """,
    """
    CREATE TRIGGER network_deleted BEFORE DELETE ON network BEGIN
        DELETE FROM member WHERE network = OLD.id;
        INSERT OR REPLACE INTO change (network, address) VALUES (OLD.id, '');
    END
    """,
    f"""
    CREATE TRIGGER member_added AFTER INSERT ON member BEGIN
        {_ASSIGN}
        INSERT OR REPLACE INTO change (network, address) VALUES (NEW.network, NEW.address);
    END
    """,
    """
    CREATE TRIGGER member_changed AFTER UPDATE ON member WHEN NEW.record <> OLD.record BEGIN
        UPDATE member SET revision = OLD.revision + 1
            WHERE network = NEW.network AND address = NEW.address AND NEW.revision = OLD.revision;
        INSERT OR REPLACE INTO change (network, address) VALUES (NEW.network, NEW.address);
    END
    """,
    f"""
    CREATE TRIGGER member_moved AFTER UPDATE ON member
        WHEN json_extract(NEW.record, '$.ipAssignments') IS NOT json_extract(OLD.record, '$.ipAssignments')
    BEGIN
        DELETE FROM assignment WHERE network = NEW.network AND address = NEW.address;
        {_ASSIGN}
    END
    """,
    """
    CREATE TRIGGER member_deleted BEFORE DELETE ON member BEGIN
        DELETE FROM assignment WHERE network = OLD.network AND address = OLD.address;
        DELETE FROM seen WHERE network = OLD.network AND address = OLD.address;
        INSERT OR REPLACE INTO change (network, address) VALUES (OLD.network, OLD.address);
    END
    """,
)

IDENTITIES: Final = (
    # Who may be online with which identity. Every turn of holding one has a token that no other has.
    "CREATE TABLE turn (number INTEGER PRIMARY KEY AUTOINCREMENT)",
    """
    CREATE TABLE identity (
        address TEXT PRIMARY KEY NOT NULL,
        public TEXT NOT NULL,
        secret TEXT NOT NULL,
        token INTEGER UNIQUE,
        holder TEXT
    ) WITHOUT ROWID
    """,
)

MIGRATIONS: Final = (RECORDS, IDENTITIES)
"""The statements that make a database of version n one of version n + 1; the version is its user_version."""
