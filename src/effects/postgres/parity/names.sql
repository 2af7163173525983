-- What depends on the name of the login, or would come to belong to a login: alike for both, and still not the same.
WITH become AS (
  -- The role that each becomes at login, if any; in this database or in all.
  SELECT DISTINCT ON (p.oid) p.oid, substr(c, 6) AS role
    FROM pair p JOIN pg_db_role_setting s ON s.setrole = p.oid CROSS JOIN LATERAL unnest(s.setconfig) c
   WHERE c LIKE 'role=%' AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
   ORDER BY p.oid, s.setdatabase DESC
), one AS (
  SELECT count(*) = 2 AND count(DISTINCT role) = 1 AND min(role) <> 'none' AS role FROM become
), asks AS (
  -- What the parser makes of current_role, current_user, user, and session_user.
  SELECT CASE WHEN role THEN 'SQLVALUEFUNCTION :op 12 ' ELSE 'SQLVALUEFUNCTION :op (9|10|11|12) ' END AS tree,
         CASE WHEN role THEN '\msession_user\M' ELSE '\m(session_user|current_user|current_role)\M' END AS text,
         CASE WHEN role THEN 'session_user' ELSE 'the user' END AS what
    FROM one
), mend AS (
  -- Safe only where nothing was granted to the logins themselves, which they would lose at the next login.
  SELECT (SELECT string_agg(format('ALTER ROLE %s SET role = %L', me, g.rolname), '; ') FROM pair) AS sql
    FROM pg_roles g, one
   WHERE NOT one.role AND g.rolname !~ '^(pg_|rds_|cloudsql|azure_|alloydb)'
     AND (SELECT count(DISTINCT m.member) FROM pg_auth_members m JOIN pair p ON p.oid = m.member WHERE m.roleid = g.oid) = 2
     AND NOT EXISTS (SELECT FROM pair p JOIN pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = p.oid)
   ORDER BY g.rolname = (SELECT min(owner) FROM pair) DESC NULLS LAST, g.rolname LIMIT 1
), found (what) AS (
  SELECT format('policy %I on %s asks for %s', p.polname, p.polrelid::regclass, a.what)
    FROM pg_policy p, asks a WHERE p.polqual::text ~ a.tree OR p.polwithcheck::text ~ a.tree
  UNION ALL
  SELECT format('the default of column %s.%I asks for %s', d.adrelid::regclass, c.attname, a.what)
    FROM pg_attrdef d JOIN pg_attribute c ON c.attrelid = d.adrelid AND c.attnum = d.adnum, asks a WHERE d.adbin::text ~ a.tree
  UNION ALL
  SELECT format('view %s asks for %s', c.oid::regclass, a.what)
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace, asks a
   WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND r.ev_action::text ~ a.tree
     AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
  UNION ALL
  SELECT format('routine %s asks for %s', r.oid::regprocedure, a.what)
    FROM pg_proc r JOIN pg_namespace n ON n.oid = r.pronamespace JOIN pg_language l ON l.oid = r.prolang, asks a
   WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND l.lanname NOT IN ('c', 'internal')
     AND (r.prosrc ~* a.text OR r.prosqlbody::text ~ a.tree)
     AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = r.oid AND e.deptype = 'e')
  UNION ALL
  SELECT format('what %s creates would belong to it alone', p.me)
    FROM pair p, one WHERE NOT one.role
     AND (has_database_privilege(p.oid, current_database(), 'CREATE')
          OR EXISTS (SELECT FROM pg_namespace n WHERE n.nspname !~ '^pg_' AND has_schema_privilege(p.oid, n.oid, 'CREATE')))
)
SELECT 'name', f.what, true, NULL::float8, m.sql, m.sql FROM found f LEFT JOIN mend m ON true
