/*
  Warnings:

  - You are about to drop the column `insuranceNumber` on the `Patient` table. All the data in the column will be lost.
  - You are about to drop the column `insurerName` on the `Patient` table. All the data in the column will be lost.

*/
-- AlterTable
ALTER TABLE "Patient" DROP COLUMN "insuranceNumber",
DROP COLUMN "insurerName";

-- Addresses are kept in lower case from now on, so that nobody is registered twice.
UPDATE "User" SET "email" = lower("email") WHERE "email" <> lower("email");
