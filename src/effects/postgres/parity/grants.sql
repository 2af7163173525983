-- Who was granted what: on objects of this database, on those that all databases share, and on what is still to be made.
WITH here AS (
  SELECT DISTINCT p.first, p.me, p.peer, p.oid, s.classid, s.objid, s.objsubid
    FROM pair p JOIN pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = p.oid AND s.deptype = 'a'
     AND s.dbid IN (CASE WHEN p.shared THEN 0 END, (SELECT oid FROM pg_database WHERE datname = current_database()))
), objects (first, me, peer, oid, prefix, target, label, part, owner, acl) AS (
  SELECT h.first, h.me, h.peer, h.oid, '', o.word || ' ' || o.name, lower(o.word) || ' ' || o.name, o.part, o.owner, o.acl
    FROM here h, LATERAL (
      SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text, '', c.relowner, c.relacl
        FROM pg_class c WHERE h.classid = 'pg_class'::regclass AND h.objsubid = 0 AND c.oid = h.objid AND c.relpersistence <> 't'
      UNION ALL
      SELECT 'TABLE', c.oid::regclass::text, format(' (%I)', a.attname), c.relowner, a.attacl
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
       WHERE h.classid = 'pg_class'::regclass AND c.oid = h.objid AND a.attnum = h.objsubid AND a.attnum <> 0 AND c.relpersistence <> 't'
      UNION ALL
      SELECT 'SCHEMA', quote_ident(n.nspname), '', n.nspowner, n.nspacl
        FROM pg_namespace n WHERE h.classid = 'pg_namespace'::regclass AND n.oid = h.objid
      UNION ALL
      SELECT 'ROUTINE', r.oid::regprocedure::text, '', r.proowner, r.proacl
        FROM pg_proc r WHERE h.classid = 'pg_proc'::regclass AND r.oid = h.objid
      UNION ALL
      SELECT 'TYPE', t.oid::regtype::text, '', t.typowner, t.typacl
        FROM pg_type t WHERE h.classid = 'pg_type'::regclass AND t.oid = h.objid
      UNION ALL
      SELECT 'DATABASE', quote_ident(d.datname), '', d.datdba, d.datacl
        FROM pg_database d WHERE h.classid = 'pg_database'::regclass AND d.oid = h.objid
      UNION ALL
      SELECT 'LANGUAGE', quote_ident(l.lanname), '', l.lanowner, l.lanacl
        FROM pg_language l WHERE h.classid = 'pg_language'::regclass AND l.oid = h.objid
      UNION ALL
      SELECT 'FOREIGN DATA WRAPPER', quote_ident(w.fdwname), '', w.fdwowner, w.fdwacl
        FROM pg_foreign_data_wrapper w WHERE h.classid = 'pg_foreign_data_wrapper'::regclass AND w.oid = h.objid
      UNION ALL
      SELECT 'FOREIGN SERVER', quote_ident(s.srvname), '', s.srvowner, s.srvacl
        FROM pg_foreign_server s WHERE h.classid = 'pg_foreign_server'::regclass AND s.oid = h.objid
      UNION ALL
      SELECT 'TABLESPACE', quote_ident(t.spcname), '', t.spcowner, t.spcacl
        FROM pg_tablespace t WHERE h.classid = 'pg_tablespace'::regclass AND t.oid = h.objid
      UNION ALL
      SELECT 'LARGE OBJECT', l.oid::text, '', l.lomowner, l.lomacl
        FROM pg_largeobject_metadata l WHERE h.classid = 'pg_largeobject'::regclass AND l.oid = h.objid
    ) o (word, name, part, owner, acl)
), future AS (
  SELECT d.defaclrole, d.defaclnamespace, d.defaclobjtype, d.defaclacl, w.word,
         CASE WHEN d.defaclnamespace = 0 THEN '' ELSE format(' IN SCHEMA %I', n.nspname) END AS place
    FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
    JOIN (VALUES ('r', 'TABLES'), ('S', 'SEQUENCES'), ('f', 'ROUTINES'), ('T', 'TYPES'), ('n', 'SCHEMAS'), ('L', 'LARGE OBJECTS'))
      w (type, word) ON w.type = d.defaclobjtype::text
), held AS (
  SELECT o.first, o.me, o.peer, o.prefix, o.target, o.label, e.privilege_type || o.part AS privilege,
         bool_or(e.is_grantable) AS grantable,
         -- Only who granted it can take it back.
         array_agg(DISTINCT CASE WHEN e.grantor <> o.owner THEN e.grantor::regrole::text END) AS grantors
    FROM (
      TABLE objects
      UNION ALL
      -- To one of the pair, on what others will make.
      SELECT p.first, p.me, p.peer, p.oid, format('ALTER DEFAULT PRIVILEGES FOR ROLE %s%s ', f.defaclrole::regrole, f.place), f.word,
             format('future %s of %s%s', lower(f.word), f.defaclrole::regrole, lower(f.place)), '', f.defaclrole, f.defaclacl
        FROM pair p CROSS JOIN future f WHERE f.defaclrole NOT IN (SELECT oid FROM pair)
    ) o, LATERAL aclexplode(o.acl) e
   WHERE e.grantee = o.oid
   GROUP BY 1, 2, 3, 4, 5, 6, 7
), compared AS (
  SELECT h.*, count(*) OVER w AS sides, bool_and(h.grantable) OVER w AS both_grantable
    FROM held h WINDOW w AS (PARTITION BY prefix, target, privilege)
), lone AS (
  SELECT c.*, string_agg(privilege, ', ') OVER w AS privileges, row_number() OVER w AS n,
         string_agg(coalesce((
           SELECT string_agg(CASE WHEN g IS NULL THEN format('%sREVOKE %s ON %s FROM %s', prefix, privilege, target, me)
                                  ELSE format('SET ROLE %s; REVOKE %s ON %s FROM %s; RESET ROLE', g, privilege, target, me) END, '; ')
             FROM unnest(grantors) g), ''), '; ') OVER w AS takes
    FROM compared c WHERE sides = 1
  WINDOW w AS (PARTITION BY first, prefix, target, grantable ORDER BY privilege ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
), made AS (
  -- On what one of the pair will make: for whom it opens that, and for whom it closes what would be open.
  SELECT p.first, p.me, p.peer, f.word, f.place, e.privilege_type AS privilege, x.word AS negation,
         CASE WHEN e.grantee = 0 THEN 'PUBLIC' WHEN e.grantee = p.oid THEN p.me ELSE e.grantee::regrole::text END AS mine,
         CASE WHEN e.grantee = 0 THEN 'PUBLIC' WHEN e.grantee = p.oid THEN p.peer WHEN e.grantee::regrole::text = p.peer THEN p.me
              ELSE e.grantee::regrole::text END AS theirs,
         CASE WHEN e.grantee = 0 THEN 'PUBLIC' WHEN e.grantee = p.oid THEN 'itself' WHEN e.grantee::regrole::text = p.peer THEN 'its partner'
              ELSE e.grantee::regrole::text END AS whom,
         e.is_grantable
    FROM pair p JOIN future f ON f.defaclrole = p.oid, LATERAL (
      SELECT '', grantee, privilege_type, is_grantable FROM aclexplode(f.defaclacl) WHERE grantee <> p.oid
      UNION ALL
      (SELECT 'no ', grantee, privilege_type, false FROM aclexplode(acldefault(CASE f.defaclobjtype WHEN 'S' THEN 's' ELSE f.defaclobjtype END, p.oid))
        WHERE f.defaclnamespace = 0
       EXCEPT
       SELECT 'no ', grantee, privilege_type, false FROM aclexplode(f.defaclacl))
    ) x (word, grantee, privilege_type, is_grantable), LATERAL (SELECT x.grantee, x.privilege_type, x.is_grantable) e
), made_alone AS (
  SELECT m.*, count(*) OVER (PARTITION BY negation, word, place, privilege, whom, is_grantable) AS sides FROM made m
), passed_on AS (
  SELECT o.first, format('%s on %s to %s', e.privilege_type || o.part, o.label, g.name) AS what,
         format('GRANT %1$s ON %2$s TO %3$s%4$s; SET ROLE %5$s; REVOKE %1$s ON %2$s FROM %3$s; RESET ROLE', e.privilege_type || o.part,
                o.target, g.name, CASE WHEN e.is_grantable THEN ' WITH GRANT OPTION' END, o.me) AS mend
    FROM objects o, LATERAL aclexplode(o.acl) e,
         LATERAL (SELECT CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE e.grantee::regrole::text END AS name) g
   WHERE e.grantor = o.oid AND o.owner <> o.oid AND e.grantee NOT IN (SELECT oid FROM pair)
), passed_on_alone AS (
  SELECT p.*, count(*) OVER (PARTITION BY what) AS sides FROM passed_on p
)
SELECT 'grant', format('%s on %s', privileges, label), first, NULL::float8,
       format('%sGRANT %s ON %s TO %s%s', prefix, privileges, target, peer, CASE WHEN grantable THEN ' WITH GRANT OPTION' END), takes
  FROM lone WHERE n = 1
UNION ALL
SELECT 'grant', format('the grant option of %s on %s', privilege, label), first, NULL,
       format('%sGRANT %s ON %s TO %s WITH GRANT OPTION', prefix, privilege, target, peer),
       (SELECT string_agg(CASE WHEN g IS NULL THEN format('%sREVOKE GRANT OPTION FOR %s ON %s FROM %s', prefix, privilege, target, me)
                               ELSE format('SET ROLE %s; REVOKE GRANT OPTION FOR %s ON %s FROM %s; RESET ROLE', g, privilege, target, me) END, '; ')
          FROM unnest(grantors) g)
  FROM compared WHERE sides = 2 AND grantable AND NOT both_grantable
UNION ALL
SELECT 'default', format('%s%s for %s on the %s that it makes%s%s', negation, privilege, whom, lower(word), lower(place),
                         CASE WHEN is_grantable THEN ' with grant option' END), first, NULL,
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %s%s %s %s ON %s %s %s%s', peer, place, CASE negation WHEN '' THEN 'GRANT' ELSE 'REVOKE' END,
              privilege, word, CASE negation WHEN '' THEN 'TO' ELSE 'FROM' END, theirs, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END),
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %s%s %s %s ON %s %s %s', me, place, CASE negation WHEN '' THEN 'REVOKE' ELSE 'GRANT' END,
              privilege, word, CASE negation WHEN '' THEN 'FROM' ELSE 'TO' END, mine)
  FROM made_alone WHERE sides = 1
UNION ALL
SELECT 'passed', what, first, NULL, mend, mend FROM passed_on_alone WHERE sides = 1
