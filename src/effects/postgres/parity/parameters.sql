-- Who may set which parameter, since 15.
WITH held AS (
  SELECT p.first, p.me, p.peer, quote_ident(a.parname) AS name, e.privilege_type AS privilege, bool_or(e.is_grantable) AS grantable
    FROM pair p CROSS JOIN pg_parameter_acl a, LATERAL aclexplode(a.paracl) e
   WHERE e.grantee = p.oid GROUP BY 1, 2, 3, 4, 5
), compared AS (
  SELECT h.*, count(*) OVER w AS sides, bool_and(h.grantable) OVER w AS both_grantable
    FROM held h WINDOW w AS (PARTITION BY name, privilege)
)
SELECT 'grant', format('%s on parameter %s', privilege, name), first, NULL::float8,
       format('GRANT %s ON PARAMETER %s TO %s%s', privilege, name, peer, CASE WHEN grantable THEN ' WITH GRANT OPTION' END),
       format('REVOKE %s ON PARAMETER %s FROM %s', privilege, name, me)
  FROM compared WHERE sides = 1
UNION ALL
SELECT 'grant', format('the grant option of %s on parameter %s', privilege, name), first, NULL,
       format('GRANT %s ON PARAMETER %s TO %s WITH GRANT OPTION', privilege, name, peer),
       format('REVOKE GRANT OPTION FOR %s ON PARAMETER %s FROM %s', privilege, name, me)
  FROM compared WHERE sides = 2 AND grantable AND NOT both_grantable
