-- Roles for `halftone serve --store postgresql://halftone@HOST/halftone`: one that owns the tables and is used by the services alone (workers never
-- speak to the database), and one that reads, for backups and figures. Passwords: \password halftone, or pg_hba.conf.
CREATE ROLE halftone LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 100;
CREATE DATABASE halftone OWNER halftone ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
REVOKE ALL ON DATABASE halftone FROM PUBLIC;
CREATE ROLE halftone_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 5;
GRANT CONNECT ON DATABASE halftone TO halftone_reader;
\connect halftone
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT CREATE, USAGE ON SCHEMA public TO halftone;
GRANT USAGE ON SCHEMA public TO halftone_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE halftone IN SCHEMA public GRANT SELECT ON TABLES TO halftone_reader;
