-- What belongs to one of them, or names one of them.
WITH owner AS (
  -- The role that both are, or could be: the one they become, or one that both are direct members of.
  SELECT p.name, p.exists FROM (
    SELECT quote_ident(g.rolname) AS name, true AS exists, (g.rolname = (SELECT min(owner) FROM pair)) AS wanted
      FROM pg_roles g WHERE g.rolname !~ '^(pg_|rds_|cloudsql|azure_|alloydb)' AND g.oid NOT IN (SELECT oid FROM pair)
       AND (SELECT count(DISTINCT m.member) FROM pg_auth_members m JOIN pair p ON p.oid = m.member WHERE m.roleid = g.oid) = 2
    UNION ALL
    SELECT quote_ident(left(current_database(), 56) || '_owner'), false, NULL
  ) p ORDER BY p.wanted DESC NULLS LAST, p.exists DESC, p.name LIMIT 1
), to_owner AS (
  SELECT o.name, CASE WHEN o.exists THEN ''
                      ELSE format('CREATE ROLE %s NOLOGIN; GRANT %1$s TO %s; ', o.name, (SELECT string_agg(me, ', ') FROM pair)) END AS prepare
    FROM owner o
), owned AS (
  SELECT p.first, p.me, s.classid, i.type, i.identity
    FROM pair p JOIN pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = p.oid AND s.deptype = 'o'
     AND s.dbid IN (CASE WHEN p.shared THEN 0 END, (SELECT oid FROM pg_database WHERE datname = current_database()))
         CROSS JOIN LATERAL pg_identify_object(s.classid, s.objid, s.objsubid) i
    LEFT JOIN pg_class c ON s.classid = 'pg_class'::regclass AND c.oid = s.objid
    -- Default privileges and user mappings are compared by what they say; a session's own objects end with it.
   WHERE s.classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass)
     AND coalesce(c.relpersistence, 'p') <> 't' AND coalesce(i.schema, '') !~ '^pg_temp'
), mappings AS (
  SELECT p.first, p.me, p.peer, m.srvname, m.usename, m.umoptions FROM pair p JOIN pg_user_mappings m ON m.umuser = p.oid
)
SELECT 'owner', format('%s %s', o.type, o.identity), o.first, NULL::float8, x.mend, x.mend
  FROM owned o CROSS JOIN to_owner t, LATERAL (SELECT CASE
    -- These belong to superusers only.
    WHEN o.classid IN ('pg_event_trigger'::regclass, 'pg_foreign_data_wrapper'::regclass)
      OR o.classid = 'pg_subscription'::regclass AND (SELECT min(major) FROM pair) < 16
    THEN format('ALTER %s %s OWNER TO %I', upper(o.type), o.identity, (SELECT rolname FROM pg_roles WHERE oid = 10))
    ELSE format('%sREASSIGN OWNED BY %s TO %s', t.prepare, o.me, t.name) END AS mend) x
UNION ALL
SELECT 'policy', format('policy %I on %s', y.polname, y.polrelid::regclass), p.first, NULL, x.mend, x.mend
  FROM pair p JOIN pg_policy y ON p.oid = ANY (y.polroles), LATERAL (
    SELECT format('ALTER POLICY %I ON %s TO %s, %s', y.polname, y.polrelid::regclass,
                  (SELECT string_agg(r::regrole::text, ', ') FROM unnest(y.polroles) r), p.peer) AS mend) x
 WHERE NOT EXISTS (SELECT FROM pair o WHERE o.first <> p.first AND o.oid = ANY (y.polroles))
UNION ALL
SELECT 'mapping', format('the user mapping for server %I', m.srvname), m.first, NULL,
       format('DROP USER MAPPING IF EXISTS FOR %1$s SERVER %2$I; DO %3$L', m.peer, m.srvname, format(
         'BEGIN EXECUTE (SELECT %L || coalesce(format('' OPTIONS (%%s)'', (SELECT string_agg(format(''%%I %%L'', split_part(o, ''='', 1), substr(o, strpos(o, ''='') + 1)), '', '') FROM unnest(umoptions) o)), '''') FROM pg_user_mappings WHERE srvname = %L AND usename = %L); END',
         format('CREATE USER MAPPING FOR %s SERVER %I', m.peer, m.srvname), m.srvname, m.usename)),
       format('DROP USER MAPPING FOR %s SERVER %I', m.me, m.srvname)
  FROM mappings m
 WHERE NOT EXISTS (SELECT FROM mappings o WHERE o.first <> m.first AND o.srvname = m.srvname
                      AND o.umoptions IS NOT DISTINCT FROM m.umoptions)
UNION ALL
-- To others than superusers the options are empty.
SELECT 'hidden', format('the options of the user mappings for server %I', m.srvname), m.first, NULL, NULL, NULL
  FROM mappings m JOIN mappings o ON o.first <> m.first AND o.srvname = m.srvname AND o.umoptions IS NULL
 WHERE m.first AND m.umoptions IS NULL AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
UNION ALL
SELECT 'elsewhere', d.datname, true, NULL, NULL, NULL
  FROM (SELECT s.dbid, p.first, s.classid, s.deptype, count(*) AS n
          FROM pair p JOIN pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = p.oid
         WHERE s.dbid <> 0 AND p.shared GROUP BY 1, 2, 3, 4) x
  JOIN pg_database d ON d.oid = x.dbid AND d.datname <> current_database() AND d.datallowconn
 GROUP BY d.datname, x.dbid
HAVING count(*) <> 2 * count(DISTINCT (x.classid, x.deptype, x.n))
