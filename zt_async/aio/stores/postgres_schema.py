"""The tables of a PostgreSQL database, as the steps that lead from each version to the next.

They live in a schema of their own, which is also the name of the channel of their notifications. Plain SQL is welcome:
triggers count revisions, keep the table of addresses, in which each is one member's only, and tell the controllers what
was changed. A record's JSON is that of zerotier-one's files (vl2.md 8.5). Each function runs with the search path
that it was made with.
"""

from __future__ import annotations

from typing import Final

RECORDS: Final = """
CREATE TABLE network (
    id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[0-9a-f]{16}$'),
    revision bigint NOT NULL DEFAULT 1,
    record jsonb NOT NULL CHECK (jsonb_typeof(record) = 'object')
);

CREATE TABLE member (
    network text COLLATE "C" NOT NULL REFERENCES network ON DELETE CASCADE,
    address text COLLATE "C" NOT NULL CHECK (address ~ '^[0-9a-f]{10}$'),
    revision bigint NOT NULL DEFAULT 1,
    record jsonb NOT NULL CHECK (jsonb_typeof(record) = 'object'),
    PRIMARY KEY (network, address)
);

-- A member as it was last seen: with each request, so neither a revision nor news for anybody.
CREATE TABLE seen (
    network text COLLATE "C" NOT NULL,
    address text COLLATE "C" NOT NULL,
    record jsonb NOT NULL,
    PRIMARY KEY (network, address),
    FOREIGN KEY (network, address) REFERENCES member ON DELETE CASCADE
);

CREATE TABLE assignment (
    network text COLLATE "C" NOT NULL,
    ip inet NOT NULL,
    address text COLLATE "C" NOT NULL,
    PRIMARY KEY (network, ip),
    FOREIGN KEY (network, address) REFERENCES member ON DELETE CASCADE
);
CREATE INDEX ON assignment (network, address);

-- The latest change of each record, deletion included; an empty address is the network's own.
CREATE TABLE change (
    network text COLLATE "C" NOT NULL,
    address text COLLATE "C" NOT NULL,
    transaction xid8 NOT NULL,
    PRIMARY KEY (network, address)
);

-- The last group of commits of each store, so that one whose answer was lost is not made twice.
CREATE TABLE writer (
    name text PRIMARY KEY,
    number bigint NOT NULL DEFAULT 0,
    results text[],
    time timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION count_revision() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.record IS DISTINCT FROM OLD.record AND NEW.revision = OLD.revision THEN
        NEW.revision := OLD.revision + 1;
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION assign_addresses() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.record -> 'ipAssignments' IS NOT DISTINCT FROM OLD.record -> 'ipAssignments' THEN
            RETURN NULL;
        END IF;
        DELETE FROM assignment WHERE network = NEW.network AND address = NEW.address;
    END IF;
    INSERT INTO assignment
        SELECT DISTINCT NEW.network, host(ip::inet)::inet, NEW.address
        FROM jsonb_array_elements_text(coalesce(NEW.record -> 'ipAssignments', '[]')) AS ip;
    RETURN NULL;
END $$;

CREATE FUNCTION tell_change() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    changed record := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    network_id text;
    member_address text := '';
BEGIN
    IF TG_OP = 'UPDATE' AND NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NULL;
    END IF;
    IF TG_TABLE_NAME = 'network' THEN
        network_id := changed.id;
    ELSE
        network_id := changed.network;
        member_address := changed.address;
    END IF;
    INSERT INTO change VALUES (network_id, member_address, pg_current_xact_id())
        ON CONFLICT (network, address) DO UPDATE SET transaction = excluded.transaction;
    PERFORM pg_notify(
        TG_TABLE_SCHEMA, network_id || '/' || member_address || ' ' || current_setting('application_name')
    );
    RETURN NULL;
END $$;

CREATE TRIGGER count_revision BEFORE UPDATE ON network FOR EACH ROW EXECUTE FUNCTION count_revision();
CREATE TRIGGER count_revision BEFORE UPDATE ON member FOR EACH ROW EXECUTE FUNCTION count_revision();
CREATE TRIGGER assign_addresses AFTER INSERT OR UPDATE ON member
    FOR EACH ROW EXECUTE FUNCTION assign_addresses();
CREATE TRIGGER tell_change AFTER INSERT OR UPDATE OR DELETE ON network
    FOR EACH ROW EXECUTE FUNCTION tell_change();
CREATE TRIGGER tell_change AFTER INSERT OR UPDATE OR DELETE ON member
    FOR EACH ROW EXECUTE FUNCTION tell_change();

CREATE FUNCTION apply_change(key text, member_address text, expected bigint, new_revision bigint, value jsonb)
RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF value IS NULL THEN
        IF member_address IS NULL THEN
            DELETE FROM network WHERE id = key;
        ELSE
            DELETE FROM member WHERE network = key AND address = member_address;
        END IF;
        RETURN;
    ELSIF expected < 0 THEN
        INSERT INTO seen SELECT network, address, value FROM member WHERE network = key AND address = member_address
            ON CONFLICT (network, address) DO UPDATE SET record = excluded.record;
        RETURN;
    ELSIF expected = 0 AND member_address IS NULL THEN
        INSERT INTO network VALUES (key, new_revision, value);
    ELSIF expected = 0 THEN
        INSERT INTO member VALUES (key, member_address, new_revision, value);
    ELSIF member_address IS NULL THEN
        UPDATE network SET revision = new_revision, record = value WHERE id = key AND revision = expected;
    ELSE
        UPDATE member SET revision = new_revision, record = value
            WHERE network = key AND address = member_address AND revision = expected;
    END IF;
    IF NOT FOUND THEN
        RAISE 'was changed: its revision is no longer %', expected USING ERRCODE = 'ZT001';
    END IF;
END $$;

-- Makes commits in order, each all or not at all. A commit is [fence, [[network, address, expected revision, revision,
-- record], ...]]. For each the result is null, or a letter (conflict, fence lost, other error) and what was wrong.
CREATE FUNCTION commit_changes(writer_name text, group_number bigint, commits jsonb)
RETURNS text[] LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    last record;
    work jsonb;
    change jsonb;
    outcome text[] := '{}';
    what text;
BEGIN
    INSERT INTO writer (name) VALUES (writer_name) ON CONFLICT DO NOTHING;
    SELECT number, results FROM writer WHERE name = writer_name INTO last FOR UPDATE;
    IF last.number = group_number THEN
        RETURN last.results;
    END IF;
    FOR work IN SELECT * FROM jsonb_array_elements(commits) LOOP
        what := '';
        BEGIN
            IF work ->> 0 IS NOT NULL THEN
                PERFORM check_fence((work ->> 0)::bigint);
            END IF;
            FOR change IN SELECT * FROM jsonb_array_elements(work -> 1) LOOP
                what := concat_ws(', member ', 'network ' || (change ->> 0), change ->> 1);
                PERFORM apply_change(
                    change ->> 0, change ->> 1, (change ->> 2)::bigint, (change ->> 3)::bigint,
                    nullif(change -> 4, 'null')
                );
            END LOOP;
            outcome := array_append(outcome, NULL);
        EXCEPTION
            WHEN SQLSTATE 'ZT001' THEN
                outcome := array_append(outcome, 'C' || what || ' ' || SQLERRM);
            WHEN SQLSTATE 'ZT002' THEN
                outcome := array_append(outcome, 'F' || SQLERRM);
            WHEN unique_violation THEN
                outcome := array_append(outcome, 'C' || what || CASE
                    WHEN SQLERRM LIKE '%assignment%' THEN ': one of its addresses is another member''s'
                    ELSE ' exists already' END);
            WHEN foreign_key_violation THEN
                outcome := array_append(outcome, 'C' || what || ': the network is gone');
            WHEN data_exception OR check_violation OR lock_not_available THEN
                outcome := array_append(outcome, 'E' || what || ': ' || SQLERRM);
        END;
    END LOOP;
    UPDATE writer SET number = group_number, results = outcome, time = now() WHERE name = writer_name;
    RETURN outcome;
END $$;
"""

IDENTITIES: Final = """
-- Who may be online with which identity, and until when by this server's clock. Every turn of holding one has a token
-- that no other has.
CREATE SEQUENCE turn;

CREATE TABLE identity (
    address text COLLATE "C" PRIMARY KEY CHECK (address ~ '^[0-9a-f]{10}$'),
    public text NOT NULL,
    secret text NOT NULL,
    token bigint NOT NULL UNIQUE DEFAULT nextval('turn'),
    holder text,
    expires timestamptz NOT NULL DEFAULT 'epoch'
);

CREATE FUNCTION tell_free() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_notify(TG_TABLE_SCHEMA, 'free');
    RETURN NULL;
END $$;

CREATE TRIGGER tell_free AFTER INSERT OR UPDATE ON identity
    FOR EACH ROW WHEN (NEW.holder IS NULL) EXECUTE FUNCTION tell_free();

-- The lock keeps the identity from being taken before this transaction ends, but not from being renewed: only taking
-- changes the token, which is a key.
CREATE FUNCTION check_fence(fence bigint) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM identity WHERE token = fence FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE 'another process holds the lease on this identity' USING ERRCODE = 'ZT002';
    END IF;
END $$;
"""

MIGRATIONS: Final = (RECORDS, IDENTITIES)
"""What makes tables of version n those of version n + 1."""
