-- What the roles themselves are: attributes, memberships, members, settings.
WITH groups AS (
  SELECT p.first, p.me, p.peer, p.major, p.oid, m.roleid, quote_ident(g.rolname) AS name, g.oid IN (SELECT oid FROM pair) AS partner,
         m.admin_option AS admin,
         -- The options came with 16; read as JSON, their absence is no error.
         (to_jsonb(m) ->> 'inherit_option')::bool AS inherits, (to_jsonb(m) ->> 'set_option')::bool AS sets,
         CASE WHEN p.major >= 16 THEN format(' GRANTED BY %I', b.rolname) ELSE '' END AS granted_by
    FROM pair p JOIN pg_auth_members m ON m.member = p.oid
    JOIN pg_roles g ON g.oid = m.roleid LEFT JOIN pg_roles b ON b.oid = m.grantor
), memberships AS (
  SELECT first, me, peer, major, roleid, name, bool_or(admin) AS admin, bool_or(inherits) AS inherits, bool_or(sets) AS sets,
         min(granted_by) AS granted_by, array_agg(granted_by) AS grants
    FROM groups WHERE NOT partner GROUP BY first, me, peer, major, roleid, name
), facts (kind, what, value, first, rank, give, take) AS (
  SELECT 'attribute', x.what, x.value, p.first, x.rank,
         format('ALTER ROLE %s %s', p.peer, x.give), format('ALTER ROLE %s %s', p.me, x.take)
    FROM pair p JOIN pg_roles r ON r.oid = p.oid, LATERAL (VALUES
      ('INHERIT', r.rolinherit, '', NULL::float8, 'INHERIT', 'NOINHERIT'),
      ('CREATEROLE', r.rolcreaterole, '', NULL, 'CREATEROLE', 'NOCREATEROLE'),
      ('CREATEDB', r.rolcreatedb, '', NULL, 'CREATEDB', 'NOCREATEDB'),
      ('BYPASSRLS', r.rolbypassrls, '', NULL, 'BYPASSRLS', 'NOBYPASSRLS'),
      ('CONNECTION LIMIT', true, r.rolconnlimit::text, coalesce(nullif(r.rolconnlimit, -1)::float8, 'infinity'),
       format('CONNECTION LIMIT %s', r.rolconnlimit), NULL),
      ('VALID UNTIL', true, coalesce(to_json(r.rolvaliduntil) #>> '{}', 'infinity'),
       coalesce(extract(epoch FROM r.rolvaliduntil)::float8, 'infinity'),
       format('VALID UNTIL %L', coalesce(to_json(r.rolvaliduntil) #>> '{}', 'infinity')), NULL)
    ) x (what, holds, value, rank, give, take)
   WHERE x.holds
  UNION ALL
  SELECT 'membership', format('membership in %s', m.name), '', m.first, NULL,
         CASE WHEN m.major >= 16
              THEN format('GRANT %s TO %s WITH ADMIN %s, INHERIT %s, SET %s', m.name, m.peer, m.admin::text, m.inherits::text, m.sets::text)
              ELSE format('GRANT %s TO %s%s', m.name, m.peer, CASE WHEN m.admin THEN ' WITH ADMIN OPTION' END) END,
         (SELECT string_agg(format('REVOKE %s FROM %s%s', m.name, m.me, g), '; ') FROM unnest(m.grants) g)
    FROM memberships m
  UNION ALL
  -- Where both are members, what each may do with it.
  SELECT 'membership', format('the %s option of the membership in %s', x.option, m.name), '', m.first, NULL,
         CASE WHEN m.major >= 16 THEN format('GRANT %s TO %s WITH %s TRUE%s', m.name, m.peer, x.option, o.granted_by)
              ELSE format('GRANT %s TO %s WITH ADMIN OPTION', m.name, m.peer) END,
         (SELECT string_agg(format('REVOKE %s OPTION FOR %s FROM %s%s', x.option, m.name, m.me, g), '; ') FROM unnest(m.grants) g)
    FROM memberships m JOIN memberships o ON o.roleid = m.roleid AND o.first <> m.first,
         LATERAL (VALUES ('ADMIN', m.admin), ('INHERIT', m.inherits), ('SET', m.sets)) x (option, holds)
   WHERE x.holds
  UNION ALL
  SELECT 'nested', format('%s is a member of %s', me, name), '', first, NULL, x.mend, x.mend
    FROM (SELECT first, me, name, string_agg(format('REVOKE %s FROM %s%s', name, me, granted_by), '; ') AS mend
            FROM groups WHERE partner GROUP BY first, me, name) x
  UNION ALL
  -- Who may only administer it, as the administrator itself, does not act as it.
  SELECT 'member', format('the member %I', g.rolname), '', p.first, NULL,
         format('GRANT %s TO %I', p.peer, g.rolname), format('REVOKE %s FROM %I', p.me, g.rolname)
    FROM pair p JOIN pg_auth_members m ON m.roleid = p.oid JOIN pg_roles g ON g.oid = m.member
   WHERE g.oid NOT IN (SELECT oid FROM pair)
     AND coalesce((to_jsonb(m) ->> 'inherit_option')::bool OR (to_jsonb(m) ->> 'set_option')::bool, true)
   GROUP BY p.first, p.me, p.peer, g.rolname
  UNION ALL
  SELECT 'setting', format('setting %s%s', s.name, lower(s.place)), s.value, s.first, NULL,
         CASE WHEN s.name LIKE '%.%' THEN
              -- Of a parameter that the server does not know, nobody can tell whether it is a secret.
              format('DO %L', format(
                'BEGIN EXECUTE (SELECT format(%L, substr(c, strpos(c, ''='') + 1)) FROM pg_db_role_setting s, unnest(s.setconfig) c WHERE s.setrole = %L::regrole AND s.setdatabase = %s AND split_part(c, ''='', 1) = %L); END',
                replace(format('ALTER ROLE %s%s SET %s = ', s.peer, s.place, s.quoted), '%', '%%') || '%L', s.me, s.setdatabase, s.name))
              ELSE format('ALTER ROLE %s%s SET %s = %s', s.peer, s.place, s.quoted,
                -- A list is kept as it is written, each name quoted as far as it must be.
                CASE WHEN s.name IN ('local_preload_libraries', 'search_path', 'session_preload_libraries', 'temp_tablespaces')
                     THEN (SELECT string_agg(quote_literal(coalesce(replace(e[1], '""', '"'), e[2])), ', ')
                             FROM regexp_matches(s.value, '"((?:[^"]|"")*)"|([^", ]+)', 'g') e)
                     ELSE quote_literal(s.value) END) END,
         format('ALTER ROLE %s%s RESET %s', s.me, s.place, s.quoted)
    FROM (SELECT p.first, p.me, p.peer, s.setdatabase, split_part(c, '=', 1) AS name, substr(c, strpos(c, '=') + 1) AS value,
                 (SELECT string_agg(quote_ident(part), '.') FROM string_to_table(split_part(c, '=', 1), '.') part) AS quoted,
                 CASE WHEN s.setdatabase = 0 THEN '' ELSE format(' IN DATABASE %I', d.datname) END AS place
            FROM pair p JOIN pg_db_role_setting s ON s.setrole = p.oid CROSS JOIN LATERAL unnest(s.setconfig) c
            LEFT JOIN pg_database d ON d.oid = s.setdatabase) s
)
SELECT kind, what, first, rank, give, take
  FROM (SELECT f.*, count(*) OVER (PARTITION BY kind, what, value) AS sides FROM facts f) f
 WHERE sides = 1
